"""Who may write, who is alive, who leads."""
