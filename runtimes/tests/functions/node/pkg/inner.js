exports.handler = async () => 'inner';
