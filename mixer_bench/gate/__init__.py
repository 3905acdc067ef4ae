"""The CI gate: did accuracy drop against a baseline?"""
