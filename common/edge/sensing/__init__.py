"""Sensing: sources by URI, the queue behind them, recording and pseudonyms."""
