//! The host's mirrors of WGSL structures, member for member, by naga's reading of the linked kernels.

use kiln::path_trace::KERNELS;
use kiln::path_trace::layout::mirrored_structures;
use std::collections::HashMap;

/// Size of a WGSL structure, and its members' names and offsets.
type Layout = (usize, Vec<(String, usize)>);

/// Every structure of every kernel, by its own name (linking puts the module's path in front).
fn wgsl_structures() -> HashMap<String, Vec<(&'static str, Layout)>> {
    let mut found: HashMap<String, Vec<(&'static str, Layout)>> = HashMap::new();
    for kernel in KERNELS {
        let module = naga::front::wgsl::parse_str(kernel.wgsl)
            .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(kernel.wgsl)));
        for (_, ty) in module.types.iter() {
            if let (Some(name), naga::TypeInner::Struct { members, span }) = (&ty.name, &ty.inner) {
                let members =
                    members.iter().map(|member| (member.name.clone().unwrap_or_default(), member.offset as usize));
                let layout = (*span as usize, members.collect());
                let own = name.rsplit('_').next().expect("rsplit gives at least one part").to_owned();
                found.entry(own).or_default().push((kernel.name, layout));
            }
        }
    }
    found
}

#[test]
fn host_structures_have_the_offsets_and_sizes_of_wgsl() {
    let found = wgsl_structures();
    for (name, size, members) in mirrored_structures() {
        let seen = found.get(name).unwrap_or_else(|| panic!("no kernel uses {name}: its mirror is dead"));
        for (kernel, (wgsl_size, wgsl_members)) in seen {
            let expected: Vec<(&str, usize)> =
                wgsl_members.iter().map(|(name, offset)| (name.as_str(), *offset)).collect();
            assert_eq!(members, expected, "members of {name} in kernel {kernel}");
            assert_eq!(size, *wgsl_size, "size of {name} in kernel {kernel}");
        }
    }
}

#[test]
fn every_kernel_passes_validation_and_binds_in_group_0() {
    for kernel in KERNELS {
        let module = naga::front::wgsl::parse_str(kernel.wgsl).expect("the other test says why not");
        // Reading halves is the one thing beyond the core that kernels do; WebGPU has it everywhere.
        let capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let mut validator = naga::valid::Validator::new(Default::default(), capabilities);
        if let Err(error) = validator.validate(&module) {
            panic!("{}: {}", kernel.name, error.emit_to_string(kernel.wgsl));
        }
        assert!(module.entry_points.iter().any(|entry| entry.name == kernel.entry_point), "{}", kernel.name);
        for (_, variable) in module.global_variables.iter() {
            if let Some(binding) = &variable.binding {
                assert_eq!(binding.group, 0, "{} in {}", variable.name.as_deref().unwrap_or("?"), kernel.name);
            }
        }
    }
}
