"""What a run is going to cost on given devices: measured speeds, known spending, and a simulated schedule."""
