"""People rank answers: a database, a web page, agreement, and preference rows to train on."""
