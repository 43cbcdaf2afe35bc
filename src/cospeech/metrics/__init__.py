"""Measures of generated motion: functions over features and clips; no network is loaded here."""
