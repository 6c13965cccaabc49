"""The language of a where: lexer, parser, canonical text."""
