"""The texts and settings that a deployment writes: CACHES, redis.conf, firewall rules, Python source."""
