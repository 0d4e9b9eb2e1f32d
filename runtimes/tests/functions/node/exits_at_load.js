process.stdout.write('last words\n');
process.exit(3);
