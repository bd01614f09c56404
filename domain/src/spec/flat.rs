//! Configurations share most of their keys, but `serde(flatten)` would lose line and column and cannot refuse unknown keys.
//! These macros write the shared keys into one flat input struct per configuration and sort them into their groups afterwards.

/// An input struct with the given keys plus those of [`ProfileParams`](super::profile::ProfileParams), which end up in `$group`.
macro_rules! profile_input {
    ($input:ident => $target:ident, $group:ident { $($(#[$meta:meta])* $name:ident: $ty:ty),* $(,)? } $($more:tt)*) => {
        $crate::spec::flat::flat_input! {
            $input => $target {
                own { $($(#[$meta])* $name: $ty,)* }
                groups { $($more)* $group: $crate::spec::profile::ProfileParams {
                    #[serde(default)] backends: Option<Vec<$crate::spec::backend_type::BackendType>>,
                    #[serde(default)] regions: Option<Vec<String>>,
                    #[serde(default)] availability_zones: Option<Vec<String>>,
                    #[serde(default)] instance_types: Option<Vec<String>>,
                    #[serde(default)] reservation: Option<String>,
                    #[serde(default)] spot_policy: Option<$crate::spec::profile::SpotPolicy>,
                    #[serde(default)] retry: Option<$crate::spec::profile::RetrySetting>,
                    #[serde(default, deserialize_with = "crate::spec::duration::offable")]
                    max_duration: Option<$crate::spec::duration::OffableDuration>,
                    #[serde(default, deserialize_with = "crate::spec::duration::offable")]
                    stop_duration: Option<$crate::spec::duration::OffableDuration>,
                    #[serde(default, deserialize_with = "crate::spec::shorthand::bounded::price")]
                    max_price: Option<f64>,
                    #[serde(default)] creation_policy: Option<$crate::spec::profile::CreationPolicy>,
                    #[serde(default, deserialize_with = "crate::spec::duration::idle")]
                    idle_duration: Option<$crate::spec::duration::IdleDuration>,
                    #[serde(default)] utilization_policy: Option<$crate::spec::profile::UtilizationPolicy>,
                    #[serde(default)] startup_order: Option<$crate::spec::profile::StartupOrder>,
                    #[serde(default)] stop_criteria: Option<$crate::spec::profile::StopCriteria>,
                    #[serde(default)] schedule: Option<$crate::spec::cron::Schedule>,
                    #[serde(default)] fleets: Option<Vec<$crate::spec::profile::EntityReference>>,
                    #[serde(default)] instances: Option<Vec<$crate::spec::profile::InstanceSelector>>,
                    #[serde(default, deserialize_with = "crate::spec::names::tags")]
                    tags: Option<std::collections::BTreeMap<String, String>>,
                    #[serde(default)] backend_options: Option<Vec<$crate::spec::profile::VastAiOptions>>,
                } }
            }
        }
    };
}
pub(crate) use profile_input;

/// As [`profile_input`], with the keys of [`RunCommon`](super::run_common::RunCommon) in the group `run` as well.
macro_rules! run_input {
    ($input:ident => $target:ident { $($own:tt)* }) => {
        $crate::spec::flat::profile_input! {
            $input => $target, profile { $($own)* }
            run: $crate::spec::run_common::RunCommon {
                #[serde(default, deserialize_with = "crate::spec::names::resource_name")] name: Option<String>,
                #[serde(default)] image: Option<String>,
                #[serde(default, deserialize_with = "crate::spec::unix_user::checked")] user: Option<String>,
                #[serde(default)] privileged: bool,
                #[serde(default)] entrypoint: Option<String>,
                #[serde(default)] working_dir: Option<String>,
                #[serde(default = "crate::spec::run_common::default_home_dir")] home_dir: String,
                #[serde(default)] registry_auth: Option<$crate::spec::run_common::RegistryAuth>,
                #[serde(default)] python: Option<$crate::spec::run_common::PythonVersion>,
                #[serde(default)] nvcc: Option<bool>,
                #[serde(default)] single_branch: Option<bool>,
                #[serde(default)] env: $crate::spec::env::Env,
                #[serde(default)] shell: Option<String>,
                #[serde(default)] resources: $crate::spec::resources::ResourcesSpec,
                #[serde(default, deserialize_with = "crate::spec::shorthand::bounded::optional::<_, _, 0, 100>")]
                priority: Option<u8>,
                #[serde(default)] volumes: Vec<$crate::spec::mounts::MountPoint>,
                #[serde(default)] docker: Option<bool>,
                #[serde(default)] repos: Vec<$crate::spec::mounts::RepoSpec>,
                #[serde(default)] files: Vec<$crate::spec::mounts::FilePathMapping>,
                #[serde(default)] dstack: bool,
                #[serde(default)] setup: Vec<String>,
            }
        }
    };
}
pub(crate) use run_input;

macro_rules! flat_input {
    ($input:ident => $target:ident {
        own { $($(#[$meta:meta])* $name:ident: $ty:ty,)* }
        groups { $($group:ident: $group_ty:ty { $($(#[$gmeta:meta])* $gname:ident: $gty:ty,)* })* }
    }) => {
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $input {
            $($(#[$meta])* $name: $ty,)*
            $($($(#[$gmeta])* $gname: $gty,)*)*
        }

        impl From<$input> for $target {
            fn from(input: $input) -> Self {
                Self {
                    $($name: input.$name,)*
                    $($group: { type Group = $group_ty; Group { $($gname: input.$gname,)* } },)*
                }
            }
        }
    };
}
pub(crate) use flat_input;
