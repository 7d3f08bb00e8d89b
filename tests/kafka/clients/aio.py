"""aiokafka: `produce BOOTSTRAP TOPIC` or `consume BOOTSTRAP TOPIC GROUP N`."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

action, bootstrap, topic, *rest = sys.argv[1:]


async def produce() -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        for line in sys.stdin.buffer:
            key, payload = line.rstrip(b"\n").split(b"\t")
            await producer.send_and_wait(topic, payload, key)


async def consume(group: str, count: int) -> None:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
    ) as consumer:
        for _ in range(count):
            message = await consumer.getone()
            sys.stdout.buffer.write(message.value + b"\n")


asyncio.run(produce() if action == "produce" else consume(rest[0], int(rest[1])))
