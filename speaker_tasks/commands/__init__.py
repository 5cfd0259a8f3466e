"""The commands of `speaker-tasks`, one noun a module; `speaker_tasks.cli` names them."""
