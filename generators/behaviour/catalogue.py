"""What the shop sells, as data: categories, their prices, invented brands, the words of names.

Prices are lognormal within a category. Shares, medians and sigmas are set so that an order (mean
quantity 1.5) has a mean of about 66,500 KRW and a median of about 44,000 KRW (survey of Seoul,
2023) and a log-sd of about 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Category:
    """One category of goods.

    Attributes:
        key: stable short name for tables of effects.
        label: as events and shoppers see it.
        share: of the products that are listed; the shares add up to 1.
        median: of the price, KRW.
        sigma: standard deviation of the logarithm of the price.
        brands: invented.
        qualities: first word of a product's name.
        items: what it is.
        coloured: whether the name ends with a colour.
    """

    key: str
    label: str
    share: float
    median: int
    sigma: float
    brands: tuple[str, ...]
    qualities: tuple[str, ...]
    items: tuple[str, ...]
    coloured: bool = False


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CATEGORIES: Final = (
    Category(
        "fashion", "패션", 0.18, 38_000, 0.65,
        _words("온새미룩 다온결 모노하루 라임스트릿 서리옷장 오브나인 무명실 하루핏"),
        _words("데일리 오버핏 코튼 린넨 울블렌드 슬림 빈티지 스트라이프 기모 루즈핏 크롭 워싱"),
        _words("셔츠 니트 가디건 슬랙스 데님팬츠 원피스 스커트 자켓 코트 패딩 후드티 맨투맨"
               " 블라우스 스니커즈 로퍼 크로스백 볼캡 머플러"),
        coloured=True,
    ),
    Category(
        "beauty", "뷰티", 0.12, 24_000, 0.60,
        _words("수연결 라온스킨 이슬방울랩 꽃담 메이로즈 청하담 비온뒤"),
        _words("수분 진정 탄력 비타민 시카 히알루론 약산성 저자극 미백 무기자차 쌀겨 어성초"),
        _words("토너 세럼 앰플 크림 선크림 클렌징폼 마스크팩 쿠션 립틴트 아이섀도 샴푸 트리트먼트"
               " 바디로션 핸드크림 향수"),
    ),
    Category(
        "food", "식품", 0.15, 19_000, 0.55,
        _words("산골밥상 바다곳간 햇살농원 찬누리 고을맛집 아침두레 맛다온"),
        _words("국내산 유기농 무농약 산지직송 수제 저온숙성 햇 당일수확 통 저염 고소한 매콤한"),
        _words("사과 한라봉 쌀 한우국거리 삼겹살 고등어 김치 만두 곰탕 떡볶이 견과 두부 김 참기름"
               " 원두커피 녹차 그릭요거트 샐러드"),
    ),
    Category(
        "living", "생활", 0.14, 28_000, 0.75,
        _words("포근채 결나무 하얀집 누리온홈 담온 소소리빙 모퉁이가구"),
        _words("원목 모던 무소음 접이식 대용량 항균 극세사 스테인리스 북유럽풍 미니 방수 친환경"),
        _words("수납장 행거 이불 베개 커튼 러그 프라이팬 냄비 텀블러 밀폐용기 식기세트 조명 책상"
               " 의자 건조대 휴지 세제 수건"),
        coloured=True,
    ),
    Category(
        "electronics", "가전디지털", 0.11, 79_000, 0.95,
        _words("노바온 하늘전자 씨드랩 루멘코어 빛가온 테크누리 파랑새일렉"),
        _words("무선 스마트 초경량 고속 저소음 4K 휴대용 게이밍 차량용 인버터 대화면 방수"),
        _words("이어폰 헤드폰 스피커 키보드 마우스 모니터 태블릿 노트북 충전기 보조배터리"
               " 공기청정기 가습기 청소기 선풍기 전기포트 에어프라이어 웹캠 스마트워치"),
        coloured=True,
    ),
    Category(
        "kids", "유아동", 0.08, 26_000, 0.60,
        _words("아이별 꼬마구름 도담도담숲 달콩이네 새싹방"),
        _words("순면 유아 초등 원목 안심 말랑 알록달록 접이식 교구 방수 무형광"),
        _words("블록 퍼즐 인형 내복 기저귀 물티슈 이유식 유모차 카시트 색연필 그림책 킥보드 실내화"
               " 우비 젖병"),
    ),
    Category(
        "sports", "스포츠레저", 0.07, 48_000, 0.70,
        _words("한걸음 오름길 파도결 런어웨이브 바람벗"),
        _words("경량 방수 접이식 쿠셔닝 미끄럼방지 흡습 전문가용 입문 대형 사계절"),
        _words("러닝화 등산화 요가매트 덤벨 텐트 캠핑의자 침낭 수영복 고글 자전거헬멧 골프장갑"
               " 배드민턴라켓 레깅스 바람막이 아이스박스"),
        coloured=True,
    ),
    Category(
        "health", "건강식품", 0.05, 33_000, 0.55,
        _words("튼튼담 산들약초 온기원 백세다움 하루한포"),
        _words("고함량 식물성 발효 프리미엄 저분자 데일리 6년근 츄어블"),
        _words("홍삼정 비타민C 오메가3 유산균 루테인 밀크씨슬 콜라겐 마그네슘 단백질쉐이크"
               " 프로폴리스 흑마늘즙 도라지청"),
    ),
    Category(
        "stationery", "도서문구", 0.05, 14_000, 0.50,
        _words("글마루 종이숲 연필과밤 한줄서가"),
        _words("하드커버 유선 무지 휴대용 개정판 입문 대용량 지워지는 저중심"),
        _words("노트 다이어리 만년필 볼펜세트 형광펜 플래너 소설집 에세이 요리책 영어단어장 수험서"
               " 파일철 스티커"),
    ),
    Category(
        "pets", "반려동물", 0.05, 21_000, 0.60,
        _words("멍냥마을 꼬리살랑 발바닥상점 코코네간식"),
        _words("그레인프리 저알러지 동결건조 소형견 노령묘 두부 접이식 자동 방수 수제"),
        _words("사료 간식 고양이모래 배변패드 하네스 캣타워 이동장 급수기 방석 장난감 빗"),
    ),
)  # fmt: skip

CHEAPEST: Final = 1_000
DEAREST: Final = 5_000_000
"""Prices are kept between these, KRW; beyond lie about 1 in 100,000."""
PRICE_STEP: Final = 100

AFFINITY: Final = {
    "fashion": (0.20, -0.25, 0.20, 0.10, -0.05, -0.10, -0.20),
    "beauty": (0.30, -0.30, 0.25, 0.10, -0.05, -0.10, -0.20),
    "food": (0.10, -0.10, -0.20, 0.00, 0.10, 0.10, 0.15),
    "living": (0.10, -0.10, -0.15, 0.10, 0.10, 0.05, 0.00),
    "electronics": (-0.30, 0.30, 0.10, 0.10, 0.00, -0.10, -0.20),
    "kids": (0.20, -0.20, -0.30, 0.30, 0.25, -0.25, -0.10),
    "sports": (-0.20, 0.25, 0.05, 0.05, 0.10, 0.00, -0.20),
    "health": (0.05, -0.05, -0.30, -0.15, 0.05, 0.25, 0.30),
    "stationery": (0.05, -0.05, 0.10, 0.00, 0.15, -0.15, -0.25),
    "pets": (0.10, -0.10, 0.15, 0.10, 0.00, -0.05, -0.15),
}
"""Category key -> logarithm of the factor on its weight for women, men, and customers in their
twenties, thirties, forties, fifties and above; ours, within +-.3 each."""

CANCELLED: Final = 0.035
"""Share of orders that are cancelled before they are sent; ours."""
REFUNDED: Final = {
    "fashion": 0.18, "beauty": 0.03, "food": 0.015, "living": 0.06, "electronics": 0.05,
    "kids": 0.07, "sports": 0.10, "health": 0.03, "stationery": 0.03, "pets": 0.03,
}  # fmt: skip
"""Category key -> share of orders that are sent back, .07 overall. Fashion is below the 25 to 30 %
that fashion malls report (Brandi, StyleShare), because theirs are single-item returns."""
