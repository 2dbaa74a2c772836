"""HTTP/1.1 over plain sockets, strictly: the way to origins and to the key service."""
