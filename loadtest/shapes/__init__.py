"""The load shapes, one Locust `LoadTestShape` a file, so that `locust -f` can be given one."""
