"""The texts of details: rows of PostgreSQL, Kafka and the processes, in both languages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from console.translations import Message, Template, word

KRW: Final = Template("krw", "{amount} KRW", "{amount}원")
ORDERS: Final = Template("orders", "{count} orders", "주문 {count}건", one="{count} order")
ORDER_OF_CUSTOMER: Final = Template(
    "order_of_customer",
    "{at}  {amount} KRW  {status}  rev {rev}  product {product}",
    "{at}  {amount}원  {status}  리비전 {rev}  상품 {product}",
)
ORDER_OF_PRODUCT: Final = Template(
    "order_of_product",
    "{at}  {amount} KRW  {status}  rev {rev}  customer {customer}",
    "{at}  {amount}원  {status}  리비전 {rev}  고객 {customer}",
)
GRADE_CHANGE: Final = Template(
    "grade_change", "{before} > {after}  {spend} KRW", "{before} > {after}  {spend}원"
)
SPEND: Final = Template("spend", "{spend} KRW  {orders}", "{spend}원  {orders}")
MEMBER_OF_GRADE: Final = Template(
    "member_of_grade", "{spend} KRW  {orders}  {name}", "{spend}원  {orders}  {name}"
)
MEMBER_OF_GROUP: Final = Template(
    "member_of_group", "{client} on {host}: partitions {ids}", "{host}의 {client}: 파티션 {ids}"
)
OFFSETS: Final = Template("offsets", "offsets {low} to {high}", "오프셋 {low}~{high}")
PARTITION: Final = Template(
    "partition",
    "{state}  lag {lag}  offsets {low} to {high}, applied {applied}",
    "{state}  랙 {lag}  오프셋 {low}~{high}, 적용 {applied}",
)
SCENARIO_RUN: Final = Template(
    "scenario_run", "{until}, started by {who}, x{rate}", "{until}까지, 시작: {who}, x{rate}"
)
BYTES_BEFORE: Final = Template("bytes_before", "{count} bytes before", "앞에 {count}바이트")
BYTES_AFTER: Final = Template(
    "bytes_after", "{count} more bytes", "뒤에 {count}바이트", one="{count} more byte"
)
APPLIED_UP_TO: Final = Template(
    "applied_up_to", "PostgreSQL has applied up to {offset}", "PostgreSQL 적용 오프셋: {offset}"
)
STORED_AS: Final = Template(
    "stored_as", "{table} {id}: revision {rev} is stored", "{table} {id}: 저장된 리비전 {rev}"
)
NEWER_STORED: Final = Template(
    "newer_stored",
    "{table} {id}: revision {rev} is stored, which is newer than this one",
    "{table} {id}: 이보다 새로운 리비전 {rev} 저장됨",
)
STORED_ROW: Final = Template("stored_row", "{table} {id} is stored", "{table} {id} 저장됨")
ROW_GONE: Final = Template(
    "row_gone", "{table} {id}: no such row; it was removed later", "{table} {id}: 나중에 삭제된 행"
)
NO_MESSAGE: Final = Template(
    "no_message",
    "none in Kafka: stored without being published, as by a history, or deleted by retention",
    "Kafka에 없음: 백필처럼 발행 없이 저장되었거나, 보존 기간이 지나 삭제됨",
)
NOT_AMONG: Final = Template(
    "not_among", "not among the {count} messages looked at", "확인한 메시지 {count}건 중에는 없음"
)
PARTITIONS: Final = Template(
    "partitions", "{count} partitions", "파티션 {count}개", one="{count} partition"
)
RANK: Final = Template(
    "rank", "rank {rank} of the {count} who are due", "구매 예정 {count}명 중 {rank}위",
    one="the only one who is due",
)  # fmt: skip
IN_ORDERS: Final = Template(
    "in_orders", "after {count} more orders in the shop", "상점 전체 주문 {count}건 뒤",
    one="after {count} more order in the shop",
)  # fmt: skip
ORDERS_SOLD: Final = Template(
    "orders_sold",
    "{orders}  {spend} KRW  {share}%",
    "{orders}  {spend}원  {share}%",
)
SPENT_MOST: Final = Template(
    "spent_most", "who spent most, of the newest {count}", "최근 가입 {count}명 중 지출 상위"
)
CACHE_AGE: Final = Template(
    "cache_age", "{age} ago, refresh #{version}", "{age} 전, 갱신 #{version}"
)
READ_AGO: Final = Template("read_ago", "read {age} ago", "{age} 전에 읽음")
FAULT_OF_FIELD: Final = Template("fault_of_field", "{field} {fault}", "{field}: {fault}")


def fault(comment: str, field: str | None) -> Message:
    """Return the description of a fault, which may begin with its field.

    >>> str(fault("status is missing", "status")), fault("status is missing", "status").id
    ('status is missing', 'fault_of_field')
    """
    if field and comment.startswith(f"{field} "):
        return FAULT_OF_FIELD(field=field, fault=word(comment.removeprefix(f"{field} ")))
    return word(comment)


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as ranges.

    >>> ranges([3, 0, 1, 2, 7]), ranges([5]), ranges([])
    ('0-3, 7', '5', '-')
    """
    found: list[list[int]] = []
    for n in sorted(numbers):
        if found and n == found[-1][-1] + 1:
            found[-1] = [found[-1][0], n]
        else:
            found.append([n])
    return ", ".join("-".join(map(str, part)) for part in found) or "-"
