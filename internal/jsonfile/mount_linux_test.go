package jsonfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// G16: file systems whose locks are local to a machine are recognized.
func TestLocalLocks(t *testing.T) {
	for line, local := range map[string]bool{
		"36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue":                              false,
		"36 35 0:40 / /mnt rw - nfs4 nas:/plex rw,vers=4.2,local_lock=none,addr=192.0.2.1":                       false,
		"36 35 0:40 / /mnt rw - nfs nas:/plex rw,vers=3,nolock,proto=tcp,local_lock=all,addr=192.0.2.1":          true,
		"36 35 0:40 / /mnt rw shared:7 master:2 - nfs nas:/plex rw,vers=3,local_lock=flock,addr=192.0.2.1":       true,
		"36 35 0:40 / /mnt rw - nfs nas:/plex rw,vers=3,local_lock=posix,addr=192.0.2.1":                         false,
		"36 35 0:40 / /mnt rw - cifs //nas/plex rw,vers=3.1.1,file_mode=0755":                                    false,
		"36 35 0:40 / /mnt rw - cifs //nas/plex rw,vers=3.1.1,nobrl":                                             true,
		"36 35 0:50 / /mnt/a\\040b rw,nosuid - fuse.sshfs me@nas:/plex rw,user_id=0":                             true,
		"36 35 0:50 / /mnt rw,nosuid - fuse.rclone remote: rw,user_id=0":                                         true,
		"36 35 0:50 / /mnt/user rw,nosuid - fuse.shfs shfs rw,user_id=0":                                         false,
		"36 35 0:50 / /mnt rw,nosuid - fuse.mergerfs 1:2 rw,user_id=0":                                           false,
		"36 35 0:50 / /mnt rw,nosuid - fuseblk /dev/sdb1 rw,user_id=0":                                           false,
		"36 35 0:60 / /mnt rw - lustre 10.0.0.1@tcp:/fs rw,localflock":                                           true,
		"36 35 0:60 / /mnt rw - nfs nas:/plex":                                                                   false,
		"36 35 98:0 / /mnt rw - ext4":                                                                            false,
		"36 35 0:60 / /mnt rw - gfs2 /dev/sdb rw,localflocks":                                                    true,
		"36 35 0:60 / /mnt rw - lustre 10.0.0.1@tcp:/fs rw,flock":                                                false,
		"36 35 0:60 / /mnt rw - tmpfs tmpfs rw,size=1024k,mode=755,inode64 and more fields than there are today": false,
	} {
		got, ok := jsonfile.KeepsLocksLocal(line)
		assert.True(t, ok, line)
		assert.Equal(t, local, got, line)
	}
	for _, line := range []string{"", "36 35 98:0 / /mnt rw", "36 35 98:0 / /mnt rw -"} {
		_, ok := jsonfile.KeepsLocksLocal(line)
		assert.False(t, ok, line)
	}
}
