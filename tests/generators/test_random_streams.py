import hashlib
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generators import random_streams

# The numbers of seed 1 for "orders", hashed: changing them would change every shop.
GOLDEN = "104bcbf942bc651f51a31b2799f117c7866de7f741af7d4d0aa7c06d9c739492"


def digest(seed: int, name: str) -> str:
    return hashlib.sha256(random_streams.stream(seed, name).random(1_000).tobytes()).hexdigest()


def test_a_stream_never_changes():
    assert digest(1, "orders") == GOLDEN


def test_another_process_draws_the_same_numbers():
    code = (
        "import hashlib; from generators.random_streams import stream;"
        "print(hashlib.sha256(stream(1, 'orders').random(1_000).tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == digest(1, "orders")


def test_names_and_seeds_give_unrelated_streams():
    names = {digest(seed, name) for seed in range(5) for name in ("users", "orders", "orders/1")}
    assert len(names) == 15
    a, b = (
        random_streams.stream(1, "users").random(10_000),
        random_streams.stream(1, "orders").random(10_000),
    )
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.04  # four standard errors


@given(st.lists(st.floats(0.001, 1_000), min_size=1, max_size=50), st.integers(0, 2**32))
def test_pick_gives_an_index_of_the_weights(weights: list[float], seed: int):
    shares = random_streams.cumulative(weights)
    u = random_streams.stream(seed, "pick").random(200)
    chosen = random_streams.pick(u, shares)
    assert chosen.min() >= 0
    assert chosen.max() < len(weights)
    low = np.concatenate([[0.0], shares])[chosen]
    assert np.all(low <= u)
    assert np.all(u < shares[chosen])


def test_distributions_have_their_moments():
    rng = random_streams.stream(3, "moments")
    u = rng.random(200_000)
    z, e, g = random_streams.normal(u), random_streams.exponential(u), random_streams.gumbel(u)
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(e.mean() - 1) < 0.01
    assert abs(g.mean() - np.euler_gamma) < 0.015
    assert np.isfinite(random_streams.gumbel(np.array([0.0]))).all()
