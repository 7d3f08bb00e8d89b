"""What the shop sells, as data: categories, items with their prices and seasons, invented brands.

A price is the item's usual price times the brand's level times a product's own factor, brought to
an ending that Korean shops use (900 and 000 won, mostly). Usual prices are set so that an order
(mean quantity 1.5) has a mean of about 66,500 KRW and a median of about 44,000 KRW (survey of
Seoul, 2023) and a log-sd of about 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Item:
    """One kind of goods.

    Attributes:
        name: the third word of a product's name.
        price: usual, KRW.
        season: key of `SEASONS`; empty for what sells alike all year.
    """

    name: str
    price: int
    season: str


@dataclass(frozen=True)
class Category:
    """One category of goods.

    Attributes:
        key: stable short name for tables of effects.
        label: as events and shoppers see it.
        share: of the products that are listed; the shares add up to 1.
        brands: invented, cheap ones first.
        qualities: second word of a product's name.
        items: what it is.
        coloured: whether the name ends with a colour.
    """

    key: str
    label: str
    share: float
    brands: tuple[str, ...]
    qualities: tuple[str, ...]
    items: tuple[Item, ...]
    coloured: bool = False


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _items(text: str) -> tuple[Item, ...]:
    """Read items: a name, its usual price in thousands of KRW, the letter of its season."""
    parts = text.split()
    return tuple(
        Item(name, int(price.rstrip("".join(SEASONS))) * 1_000, price.lstrip("0123456789"))
        for name, price in zip(parts[::2], parts[1::2], strict=True)
    )


SEASONS: Final = {
    "s": (0.3, 0.3, 0.5, 0.8, 1.4, 2.1, 2.4, 1.9, 0.9, 0.5, 0.4, 0.3),
    "w": (1.9, 1.3, 0.7, 0.4, 0.3, 0.2, 0.2, 0.3, 0.7, 1.5, 2.2, 2.3),
    "a": (0.6, 0.8, 1.4, 1.5, 1.0, 0.6, 0.5, 0.7, 1.6, 1.6, 1.0, 0.7),
    "c": (0.3, 0.4, 0.9, 1.5, 1.8, 1.5, 1.3, 1.3, 1.3, 1.0, 0.4, 0.3),
    "n": (2.2, 1.2, 1.2, 0.6, 0.5, 0.5, 0.5, 0.7, 0.8, 0.8, 1.0, 2.0),
}
"""Letter -> factor on the demand for an item in the middle of each month, January to December,
mean 1: summer, winter, spring and autumn, camping, the turn of the year; our estimate."""

CATEGORIES: Final = (
    Category(
        "fashion", "패션", 0.18,
        _words("온새미룩 다온결 모노하루 라임스트릿 서리옷장 오브나인 무명실 하루핏"),
        _words("데일리 오버핏 코튼 린넨 울블렌드 슬림 빈티지 스트라이프 기모 루즈핏 크롭 워싱"),
        _items("셔츠 36 니트 42w 가디건 42a 슬랙스 38 데님팬츠 45 원피스 46 스커트 34 "
               "자켓 79a 코트 149w 패딩 129w 후드티 42a 맨투맨 36a 블라우스 34 스니커즈 65 "
               "로퍼 69 크로스백 45 볼캡 19s 머플러 25w"),
        coloured=True,
    ),
    Category(
        "beauty", "뷰티", 0.12,
        _words("수연결 라온스킨 이슬방울랩 꽃담 메이로즈 청하담 비온뒤"),
        _words("수분 진정 탄력 비타민 시카 히알루론 약산성 저자극 미백 무기자차 쌀겨 어성초"),
        _items("토너 21 세럼 29 앰플 32 크림 34w 선크림 19s 클렌징폼 14 마스크팩 18 쿠션 34 "
               "립틴트 15 아이섀도 26 샴푸 19 트리트먼트 18 바디로션 19w 핸드크림 12w "
               "향수 69"),
    ),
    Category(
        "food", "식품", 0.15,
        _words("산골밥상 바다곳간 햇살농원 찬누리 고을맛집 아침두레 맛다온"),
        _words("국내산 유기농 무농약 산지직송 수제 저온숙성 햇 당일수확 통 저염 고소한 매콤한"),
        _items("사과 27a 한라봉 29w 쌀 42 한우국거리 32 삼겹살 24 고등어 17 김치 26 "
               "만두 13w 곰탕 15w 떡볶이 9 견과 22 두부 7 김 14 참기름 17 원두커피 19 "
               "녹차 13 그릭요거트 16 샐러드 17s"),
    ),
    Category(
        "living", "생활", 0.14,
        _words("포근채 결나무 하얀집 누리온홈 담온 소소리빙 모퉁이가구"),
        _words("원목 모던 무소음 접이식 대용량 항균 극세사 스테인리스 북유럽풍 미니 방수 친환경"),
        _items("수납장 69 행거 35 이불 59w 베개 26 커튼 35 러그 39w 프라이팬 28 냄비 36 "
               "텀블러 19 밀폐용기 21 식기세트 45 조명 39 책상 99 의자 79 건조대 29 휴지 17 "
               "세제 16 수건 17"),
        coloured=True,
    ),
    Category(
        "electronics", "가전디지털", 0.11,
        _words("노바온 하늘전자 씨드랩 루멘코어 빛가온 테크누리 파랑새일렉"),
        _words("무선 스마트 초경량 고속 저소음 4K 휴대용 게이밍 차량용 인버터 대화면 방수"),
        _items("이어폰 69 헤드폰 109 스피커 69 키보드 55 마우스 29 모니터 189 태블릿 289 "
               "노트북 690 충전기 19 보조배터리 29 공기청정기 169a 가습기 55w 청소기 149 "
               "선풍기 49s 전기포트 32 에어프라이어 79 웹캠 39 스마트워치 169"),
        coloured=True,
    ),
    Category(
        "kids", "유아동", 0.08,
        _words("아이별 꼬마구름 도담도담숲 달콩이네 새싹방"),
        _words("순면 유아 초등 원목 안심 말랑 알록달록 접이식 교구 방수 무형광"),
        _items("블록 35 퍼즐 17 인형 22 내복 17w 기저귀 29 물티슈 13 이유식 18 유모차 169 "
               "카시트 139 색연필 9 그림책 13 킥보드 69 실내화 11 우비 18s 젖병 16"),
    ),
    Category(
        "sports", "스포츠레저", 0.07,
        _words("한걸음 오름길 파도결 런어웨이브 바람벗"),
        _words("경량 방수 접이식 쿠셔닝 미끄럼방지 흡습 전문가용 입문 대형 사계절"),
        _items("러닝화 79 등산화 89a 요가매트 26 덤벨 29 텐트 159c 캠핑의자 42c 침낭 59c "
               "수영복 39s 고글 29s 자전거헬멧 45 골프장갑 17 배드민턴라켓 42 레깅스 29 "
               "바람막이 52a 아이스박스 45s"),
        coloured=True,
    ),
    Category(
        "health", "건강식품", 0.05,
        _words("튼튼담 산들약초 온기원 백세다움 하루한포"),
        _words("고함량 식물성 발효 프리미엄 저분자 데일리 6년근 츄어블"),
        _items("홍삼정 69 비타민C 19 오메가3 28 유산균 32 루테인 26 밀크씨슬 25 콜라겐 35 "
               "마그네슘 19 단백질쉐이크 42 프로폴리스 32 흑마늘즙 39 도라지청 29w"),
    ),
    Category(
        "stationery", "도서문구", 0.05,
        _words("글마루 종이숲 연필과밤 한줄서가"),
        _words("하드커버 유선 무지 휴대용 개정판 입문 대용량 지워지는 저중심"),
        _items("노트 7 다이어리 18n 만년필 35 볼펜세트 12 형광펜 8 플래너 15n 소설집 16 "
               "에세이 16 요리책 19 영어단어장 15 수험서 26 파일철 8 스티커 6"),
    ),
    Category(
        "pets", "반려동물", 0.05,
        _words("멍냥마을 꼬리살랑 발바닥상점 코코네간식"),
        _words("그레인프리 저알러지 동결건조 소형견 노령묘 두부 접이식 자동 방수 수제"),
        _items("사료 34 간식 13 고양이모래 19 배변패드 18 하네스 24 캣타워 65 이동장 42 "
               "급수기 36 방석 26 장난감 12 빗 14"),
    ),
)  # fmt: skip

COLOURS: Final = _words(
    "BLACK WHITE IVORY BEIGE GRAY CHARCOAL NAVY BLUE SKYBLUE KHAKI BROWN CAMEL PINK RED GREEN MINT"
    " YELLOW PURPLE"
)
"""As Korean shops write them: English, in capitals."""

LISTED_PER_DAY: Final = 80
"""New products a day at the seed's rate of orders, in a shop with a history; our estimate. One
product in 7 s, were each a new one, would be 4.5 million a year, of which a shelf of 300 would show
each for half an hour."""
CHEAPEST: Final = 1_000
DEAREST: Final = 5_000_000
"""Prices are kept between these, KRW."""
BRAND_LEVEL: Final = 0.35
"""The cheapest and the dearest brand of a category are this far from the middle, in logarithms."""
PRICE_SPREAD: Final = 0.42
"""Standard deviation of the logarithm of a product's own factor: materials, sizes, sets."""
ENDINGS: Final = ((900, 0.58), (0, 0.24), (500, 0.10), (None, 0.08))
"""(Last three digits of a price below 100,000 KRW, share); None is any other hundred. Higher prices
end in 9,000, 9,900 and 0,000."""
MORE_THAN_ONE: Final = {
    "fashion": 0.55, "beauty": 1.2, "food": 2.1, "living": 1.3, "electronics": 0.3,
    "kids": 1.3, "sports": 0.5, "health": 1.0, "stationery": 1.9, "pets": 1.7,
}  # fmt: skip
"""Category key -> factor on the odds that an order is of more than one unit; our estimate."""

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
twenties, thirties, forties, fifties and above; our estimate, within +-.3 each."""

CANCELLED: Final = 0.035
"""Share of orders that are cancelled before they are sent; our estimate."""
REFUNDED: Final = {
    "fashion": 0.18, "beauty": 0.03, "food": 0.015, "living": 0.06, "electronics": 0.05,
    "kids": 0.07, "sports": 0.10, "health": 0.03, "stationery": 0.03, "pets": 0.03,
}  # fmt: skip
"""Category key -> share of orders that are sent back, .07 overall. Fashion is below the 25 to 30 %
that fashion malls report (Brandi, StyleShare), because theirs are single-item returns."""
