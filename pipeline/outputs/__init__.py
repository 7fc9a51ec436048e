"""Files written beside their name and renamed, and the lists of images that they hold."""
