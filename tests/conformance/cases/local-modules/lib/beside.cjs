exports.WORD = "from beside";
