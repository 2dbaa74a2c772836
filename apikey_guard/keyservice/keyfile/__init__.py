"""A local file of hashed keys as the key service."""
