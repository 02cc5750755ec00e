//! Builds the piece of C++ that tch lacks, when the feature asks for it.

fn main() {
    println!("cargo:rerun-if-changed=src/module/module.cpp");
    #[cfg(feature = "libtorch")]
    module();
}

/// Against the headers torch-sys is built against, which say where they are through the same variables.
#[cfg(feature = "libtorch")]
fn module() {
    use std::path::PathBuf;
    let variable = |name: &str| {
        println!("cargo:rerun-if-env-changed={name}");
        std::env::var(name).ok()
    };
    let home = variable("LIBTORCH_INCLUDE").or_else(|| variable("LIBTORCH"));
    let include = PathBuf::from(home.unwrap_or_else(|| "/usr".to_owned())).join("include");
    let abi = variable("LIBTORCH_CXX11_ABI").unwrap_or_else(|| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        // libtorch's own headers give some.
        .warnings(false)
        .opt_level(1)
        .includes([&include, &include.join("torch/csrc/api/include")])
        .define("_GLIBCXX_USE_CXX11_ABI", &*abi)
        .flag_if_supported("-Wno-c++20-extensions")
        .file("src/module/module.cpp")
        .compile("corer_module");
}
