"""Interventions: remedies carried out as pairs of runs, and what they prove."""
