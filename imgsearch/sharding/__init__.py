"""Several instances as one: each holds the products of a shard, and they answer as one with all items would."""
