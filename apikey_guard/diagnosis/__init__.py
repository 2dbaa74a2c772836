"""What may be wrong with settings, the key service and origins, for whoever shows it."""
