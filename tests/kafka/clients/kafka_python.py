"""kafka-python: `produce BOOTSTRAP TOPIC` or `consume BOOTSTRAP TOPIC GROUP N`."""

import itertools
import sys

from kafka import KafkaConsumer, KafkaProducer

action, bootstrap, topic, *rest = sys.argv[1:]
if action == "produce":
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    sent = []
    for line in sys.stdin.buffer:
        key, payload = line.rstrip(b"\n").split(b"\t")
        sent.append(producer.send(topic, payload, key=key))
    for each in sent:
        each.get(timeout=60)
    sys.exit()
group, count = rest
consumer = KafkaConsumer(
    topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
)
for message in itertools.islice(consumer, int(count)):
    sys.stdout.buffer.write(message.value + b"\n")
consumer.close()
