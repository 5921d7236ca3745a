"""Forecasts of a store's daily visits, their back-test, and days that differ from them."""
