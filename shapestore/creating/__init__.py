"""How a missing shape comes to be, once."""
