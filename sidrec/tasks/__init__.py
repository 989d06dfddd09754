"""What SFT trains on: tasks in words (`wordings`, `template`, `task`) and their rows in tokens (`build`)."""
