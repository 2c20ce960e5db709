"""What studies and runs leave behind, in tables beside Optuna's."""
