//! What a virtual machine cannot do by itself: change its working directory, and the environment that programs which it
//! starts inherit. Called by `hearth.bootstrap.Native`; a build script makes a shared library of this file alone.
//!
//! Each function takes a direct buffer of Java's with a text that ends with NUL, and returns 0 or -1.

#![no_std]

use core::ffi::{c_char, c_int, c_void};

/// The functions of JNI, by their numbers in its specification.
type Environment = *const *const *const c_void;
type Object = *mut c_void;

/// `GetDirectBufferAddress`
const GET_DIRECT_BUFFER_ADDRESS: usize = 230;

unsafe extern "C" {
    fn chdir(path: *const c_char) -> c_int;
    fn putenv(pair: *mut c_char) -> c_int;
    fn unsetenv(name: *const c_char) -> c_int;
}

/// Where a direct buffer's bytes are.
///
/// # Safety
/// `env` is the virtual machine's, and `buffer` a direct buffer.
unsafe fn text(env: Environment, buffer: Object) -> *mut c_char {
    type Get = unsafe extern "system" fn(Environment, Object) -> *mut c_void;
    // SAFETY: the table is as long as JNI 1.4 has it, and this entry is that function.
    unsafe {
        let get = core::mem::transmute::<*const c_void, Get>(*(*env).add(GET_DIRECT_BUFFER_ADDRESS));
        get(env, buffer).cast()
    }
}

/// # Safety
/// Called by the virtual machine, with a direct buffer that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_hearth_bootstrap_Native_chdir(env: Environment, _: Object, path: Object) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { chdir(text(env, path)) }
}

/// The buffer becomes part of the environment.
///
/// # Safety
/// Called by the virtual machine, with a direct buffer that ends with NUL and is kept as long as the variable is set.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_hearth_bootstrap_Native_putenv(env: Environment, _: Object, pair: Object) -> c_int {
    // SAFETY: by this function's contract; the machine's own threads read no environment after its start.
    unsafe { putenv(text(env, pair)) }
}

/// # Safety
/// Called by the virtual machine, with a direct buffer that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn Java_hearth_bootstrap_Native_unsetenv(env: Environment, _: Object, name: Object) -> c_int {
    // SAFETY: as above.
    unsafe { unsetenv(text(env, name)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
