"""What is counted, logged and told of decisions."""
