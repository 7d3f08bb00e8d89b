"""confluent-kafka, any version: `produce BOOTSTRAP TOPIC` or `consume BOOTSTRAP TOPIC GROUP N`."""

import sys

from confluent_kafka import Consumer, Producer

action, bootstrap, topic, *rest = sys.argv[1:]
if action == "produce":
    producer = Producer({"bootstrap.servers": bootstrap})
    for line in sys.stdin.buffer:
        key, payload = line.rstrip(b"\n").split(b"\t")
        producer.produce(topic, payload, key)
    sys.exit(producer.flush(60))
group, count = rest
consumer = Consumer(
    {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
)
consumer.subscribe([topic])
left = int(count)
while left:
    message = consumer.poll(1.0)
    if message is not None and message.error() is None:
        sys.stdout.buffer.write(message.value() + b"\n")
        left -= 1
consumer.close()
