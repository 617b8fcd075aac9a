"""The pages: that they are true, lead somewhere, and that their commands were run or say why not."""
