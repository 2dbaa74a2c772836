"""What is remembered of the key service's answers."""
