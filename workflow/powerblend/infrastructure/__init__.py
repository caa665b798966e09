"""What any program needs: files, signals, devices, fetched models. Knows nothing of sampling."""
