"""What a running daemon shows over HTTP: metrics, health, status, and a page to look at."""
