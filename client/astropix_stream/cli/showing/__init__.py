"""What `apx top` and `apx demo` show on a terminal."""
