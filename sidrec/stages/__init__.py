"""Stages: functions from a config to a directory."""
