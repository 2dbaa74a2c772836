"""The rules: pure functions and values. No socket, clock, lock or log lives here."""
