"""What the tests share: servers, processes, samples, waits."""
