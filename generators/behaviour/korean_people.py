"""Korean people as data: surnames, given names by birth decade, cities with their population.

Sources, rounded by us: surnames by the population census of 2015 (Statistics Korea; namesakes in
Hangul such as 정 for 鄭 and 丁 are one entry); given names as found in the lists of most frequent
names by birth year of the Supreme Court of Korea; cities, counties and districts as of January
2025 with the resident registration of 2024 in thousands (Ministry of the Interior and Safety).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SURNAMES: Final[Mapping[str, tuple[float, str]]] = {
    "김": (21.5, "kim"), "이": (14.7, "lee"), "박": (8.4, "park"), "최": (4.7, "choi"),
    "정": (4.8, "jung"), "강": (2.5, "kang"), "조": (2.9, "cho"), "윤": (2.1, "yoon"),
    "장": (2.1, "jang"), "임": (2.0, "lim"), "한": (1.6, "han"), "오": (1.5, "oh"),
    "서": (1.5, "seo"), "신": (1.9, "shin"), "권": (1.4, "kwon"), "황": (1.4, "hwang"),
    "안": (1.4, "ahn"), "송": (1.4, "song"), "전": (1.5, "jeon"), "홍": (1.1, "hong"),
    "유": (1.5, "yoo"), "고": (0.95, "ko"), "문": (0.93, "moon"), "양": (1.0, "yang"),
    "손": (0.92, "son"), "배": (0.80, "bae"), "백": (0.77, "baek"), "허": (0.66, "heo"),
    "남": (0.56, "nam"), "심": (0.54, "shim"), "노": (0.63, "noh"), "하": (0.46, "ha"),
    "곽": (0.41, "kwak"), "성": (0.40, "sung"), "차": (0.39, "cha"), "주": (0.46, "joo"),
    "우": (0.39, "woo"), "구": (0.41, "koo"), "나": (0.34, "na"), "민": (0.34, "min"),
    "류": (0.34, "ryu"), "진": (0.38, "jin"), "지": (0.32, "ji"), "엄": (0.29, "eom"),
    "채": (0.26, "chae"), "원": (0.26, "won"), "천": (0.24, "cheon"), "방": (0.26, "bang"),
    "공": (0.18, "kong"), "현": (0.18, "hyun"), "함": (0.16, "ham"), "변": (0.28, "byun"),
    "염": (0.14, "yeom"), "여": (0.16, "yeo"), "추": (0.12, "choo"), "도": (0.11, "do"),
    "소": (0.11, "so"), "석": (0.11, "seok"), "선": (0.09, "sun"), "설": (0.09, "seol"),
    "마": (0.08, "ma"), "길": (0.08, "gil"), "연": (0.07, "yeon"), "위": (0.06, "wi"),
    "표": (0.06, "pyo"), "명": (0.06, "myung"), "기": (0.06, "ki"), "반": (0.06, "ban"),
    "왕": (0.05, "wang"), "금": (0.05, "geum"), "옥": (0.05, "ok"), "육": (0.05, "yook"),
    "인": (0.05, "in"), "맹": (0.05, "maeng"), "제": (0.04, "je"), "모": (0.04, "mo"),
    "남궁": (0.04, "namgung"), "탁": (0.04, "tak"), "국": (0.04, "kook"), "어": (0.04, "eo"),
    "은": (0.03, "eun"), "편": (0.03, "pyeon"), "황보": (0.02, "hwangbo"), "제갈": (0.01, "jegal"),
}  # fmt: skip
"""Surname -> (share in percent, customary spelling in Latin letters)."""

GIVEN_NAMES: Final[Mapping[tuple[int, str], str]] = {
    (1940, "F"): "영자 순자 정자 춘자 옥자 명자 정순 영순 영희 경자 순희 정숙 화자 숙자 순옥 정희",
    (1940, "M"): "영수 영호 영식 영철 정수 영길 종수 영환 광수 성수 정식 병철 상철 종철 용수 진수",
    (1950, "F"): "영숙 정숙 영희 순자 경숙 정희 순옥 명숙 영자 미숙 순희 경희 정순 혜숙 영순 옥희",
    (1950, "M"): "영수 영철 영호 정수 성호 영식 상철 영환 종수 광수 병철 진수 성수 종철 용철 재호",
    (1960, "F"): "미숙 은숙 영숙 경희 미경 정숙 경숙 은주 명숙 현숙 은희 미영 혜경 영희 은경 정희",
    (1960, "M"): "영수 성호 영호 영철 진호 상철 종수 동현 성수 정호 병철 재호 상훈 기영 경수 용호",
    (1970, "F"): "은주 은정 미경 은영 현정 은경 지영 미정 현주 정아 미영 선영 은희 수진 혜진 경아",
    (1970, "M"): "정훈 성호 성훈 상훈 성진 재훈 영호 정호 동현 상현 진호 성민 재호 종민 승호 경훈",
    (1980, "F"): "지혜 지영 은정 수진 은영 은주 혜진 선영 미영 지은 수정 지현 민정 혜정 유진 소영",
    (1980, "M"): "지훈 성민 현우 정훈 동현 준호 성훈 민수 상훈 재훈 진우 성진 승현 준영 민호 재현",
    (1990, "F"): "유진 민지 수빈 지원 지현 지은 현지 은지 예진 예지 수진 지혜 수민 다은 혜진 소연",
    (1990, "M"): "지훈 동현 현우 성민 정훈 준영 민수 준호 승현 민재 재현 상현 현준 진우 태현 우진",
    (2000, "F"): "유진 민서 수빈 서연 민지 예진 지민 예은 수민 지원 채원 서현 하은 지우 윤서 서영",
    (2000, "M"): "민준 현우 동현 준혁 민재 도현 지훈 준서 현준 승민 우진 예준 성민 건우 민성 지환",
}  # fmt: skip
"""(Decade of birth, gender) -> given names, most frequent first."""

CITIES: Final[Mapping[str, str]] = {
    "서울": (
        "종로구 138 중구 119 용산구 202 성동구 275 광진구 331 동대문구 341 중랑구 380 "
        "성북구 424 강북구 282 도봉구 302 노원구 488 은평구 461 서대문구 309 마포구 359 "
        "양천구 430 강서구 556 구로구 390 금천구 226 영등포구 378 동작구 378 관악구 480 "
        "서초구 402 강남구 556 송파구 650 강동구 478"
    ),
    "부산": (
        "중구 37 서구 102 동구 85 영도구 104 부산진구 361 동래구 273 남구 254 북구 267 "
        "해운대구 376 사하구 290 금정구 213 강서구 146 연제구 208 수영구 171 사상구 198 "
        "기장군 178"
    ),
    "대구": (
        "중구 97 동구 339 서구 160 남구 135 북구 407 수성구 407 달서구 519 달성군 259 군위군 22"
    ),
    "인천": (
        "중구 172 동구 58 미추홀구 414 연수구 401 남동구 481 부평구 487 계양구 276 서구 640 "
        "강화군 68 옹진군 20"
    ),
    "광주": (
        "동구 107 서구 281 남구 208 북구 416 광산구 393"
    ),
    "대전": (
        "동구 218 중구 222 서구 459 유성구 368 대덕구 169"
    ),
    "울산": (
        "중구 204 남구 304 동구 149 북구 217 울주군 220"
    ),
    "세종": (
        "세종시 391"
    ),
    "경기": (
        "수원시 1192 성남시 912 의정부시 464 안양시 554 부천시 770 광명시 280 평택시 601 "
        "동두천시 87 안산시 617 고양시 1064 과천시 82 구리시 187 남양주시 731 오산시 242 "
        "시흥시 520 군포시 256 의왕시 154 하남시 329 용인시 1089 파주시 513 이천시 223 "
        "안성시 195 김포시 487 화성시 974 광주시 400 양주시 286 포천시 141 여주시 115 연천군 41 "
        "가평군 62 양평군 127"
    ),
    "강원": (
        "춘천시 286 원주시 363 강릉시 208 동해시 87 태백시 37 속초시 81 삼척시 61 홍천군 66 "
        "횡성군 46 영월군 36 평창군 40 정선군 33 철원군 40 화천군 22 양구군 20 인제군 31 "
        "고성군 26 양양군 27"
    ),
    "충북": (
        "청주시 854 충주시 207 제천시 128 보은군 30 옥천군 48 영동군 43 증평군 37 진천군 86 "
        "괴산군 36 음성군 91 단양군 27"
    ),
    "충남": (
        "천안시 660 공주시 101 보령시 92 아산시 357 서산시 175 논산시 108 계룡시 46 당진시 171 "
        "금산군 49 부여군 59 서천군 48 청양군 29 홍성군 97 예산군 80 태안군 60"
    ),
    "전북": (
        "전주시 635 군산시 257 익산시 267 정읍시 101 남원시 75 김제시 80 완주군 99 진안군 24 "
        "무주군 23 장수군 20 임실군 25 순창군 26 고창군 50 부안군 48"
    ),
    "전남": (
        "목포시 210 여수시 267 순천시 276 나주시 117 광양시 154 담양군 45 곡성군 26 구례군 24 "
        "고흥군 60 보성군 37 화순군 61 장흥군 34 강진군 32 해남군 63 영암군 52 무안군 93 "
        "함평군 30 영광군 51 장성군 42 완도군 45 진도군 28 신안군 38"
    ),
    "경북": (
        "포항시 491 경주시 244 김천시 135 안동시 152 구미시 403 영주시 98 영천시 99 상주시 92 "
        "문경시 67 경산시 265 의성군 48 청송군 23 영양군 15 영덕군 33 청도군 40 고령군 30 "
        "성주군 41 칠곡군 109 예천군 54 봉화군 29 울진군 46 울릉군 9"
    ),
    "경남": (
        "창원시 1000 진주시 338 통영시 117 사천시 108 김해시 532 밀양시 101 거제시 232 "
        "양산시 361 의령군 25 함안군 59 창녕군 55 고성군 48 남해군 40 하동군 41 산청군 33 "
        "함양군 36 거창군 59 합천군 40"
    ),
    "제주": (
        "제주시 488 서귀포시 182"
    ),
}  # fmt: skip
"""Province -> its cities, counties and districts, each followed by its people in thousands."""

# Of each syllable's 19 initials, 21 vowels and 28 finals, in Unicode's order; "-" is silent.
_INITIALS: Final = "g kk n d tt r m b pp s ss - j jj ch k t p h".replace("-", "").split(" ")
_VOWELS: Final = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split()  # noqa: SIM905  (a list of twenty-one is read more easily so)
_FINALS: Final = "- k k k n n n t l k m l l l p l m p p t t ng t t k t p t".replace("-", "").split(
    " "
)


def romanise(hangul: str) -> str:
    """Spell Hangul in Latin letters, syllable by syllable (Revised Romanisation of 2000).

    >>> romanise("민준"), romanise("서연"), romanise("지우")
    ('minjun', 'seoyeon', 'jiu')
    """
    letters = []
    for syllable in hangul:
        index = ord(syllable) - 0xAC00  # the block of 19 * 21 * 28 composed syllables
        if not 0 <= index < 19 * 21 * 28:
            raise ValueError(f"{syllable!r} is not a Hangul syllable")
        initial, rest = divmod(index, 21 * 28)
        vowel, final = divmod(rest, 28)
        letters.append(_INITIALS[initial] + _VOWELS[vowel] + _FINALS[final])
    return "".join(letters)
