exports.handler = async () => { return ) };
