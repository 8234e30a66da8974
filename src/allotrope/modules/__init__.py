"""The AI platform, a folder per part; each is entered through its `api` only."""
