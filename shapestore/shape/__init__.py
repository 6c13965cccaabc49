"""What is asked for: shapes as plain values. No I/O."""
