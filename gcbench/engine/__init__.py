"""The only evaluation loop: shards of samples in, stored scores out."""
