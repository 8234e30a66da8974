"""What a deployment is: topologies, and whether an app fits one."""
