const { WORD } = require("./lib/beside.cjs");

exports.handler = async () => WORD;
