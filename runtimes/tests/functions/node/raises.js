function prepare() {
  throw new RangeError('no entry');
}

prepare();
