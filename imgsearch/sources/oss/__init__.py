"""A folder in an OSS bucket, with its ``increment.meta``: access, checks, downloads; only ``oss-import`` loads it."""
